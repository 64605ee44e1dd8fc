"""The decisions of a run, without clock, disk, threads or chance: events go in, commands and facts come out."""
