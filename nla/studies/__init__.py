"""What one notebook alone needs, a folder each, named as the notebook is without its number."""
