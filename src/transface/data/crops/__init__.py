"""From photographs of any size to the crops that dense tasks are trained and measured on, and back."""
