"""The command line: the one place where passes and toolchain meet."""
