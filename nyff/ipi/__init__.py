"""nyff inside i-PI: socket client, PES plug-in, input files."""
