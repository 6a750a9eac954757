"""The exception for errors that the user can mend."""


class UserError(Exception):
    """Bad input, said in one line that names what to do. The command line prints it and exits with status 2."""
