"""What is measured, against what, with the result: each benchmark is one command that writes its page and plot."""
