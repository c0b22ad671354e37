"""Our U-Net beside another program's, with the same weights on the same machine."""
