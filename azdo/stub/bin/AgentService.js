// The service host is built into the program that stands here for node; this file only gives the command line its usual look.
