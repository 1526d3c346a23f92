"""Training recipes of this repository, as one package: `python -m attn_training` lists them."""
