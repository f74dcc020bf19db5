"""Tables of notebook 10: losses of models with layers of low rank."""
