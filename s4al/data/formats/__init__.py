"""One module for each file format: what a file says about itself, and samples where Pillow would change them."""
