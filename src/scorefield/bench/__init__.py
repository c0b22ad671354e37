"""Speed of our U-Net compared with another program's, with the same weights on the same machine."""
