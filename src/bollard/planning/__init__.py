"""What should happen, as functions over domain values. Pure: nothing here acts."""
