"""The commands: one file each; `tune_lb.__main__` reads the command line and picks one."""
