"""What the Learn tab needs of models, data sets and papers."""
