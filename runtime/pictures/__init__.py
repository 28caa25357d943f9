"""What people would rather look at than read, as SVG: one self-contained file that a browser shows."""
