"""How a notebook is executed: parameters checked, a kernel started, several at a time."""
