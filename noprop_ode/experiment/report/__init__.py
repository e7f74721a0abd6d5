"""What comes after training: plots, predictions for files, an exported model, and what their scripts share."""
