"""Storage: every slot of every ring to disk, once; journals first, the lake from them."""
