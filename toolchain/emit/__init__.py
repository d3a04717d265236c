"""What leaves the compiler: the bundle with its report and manifest."""
