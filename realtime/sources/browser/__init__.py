"""What a page at /capture sends, as sources on the media clock."""
