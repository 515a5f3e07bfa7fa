"""What exists, as frozen values. Pure: nothing here acts."""
