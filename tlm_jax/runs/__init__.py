"""From a gin file and a command line to the ready parts of a run; shared by the mains."""
