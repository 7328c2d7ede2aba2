"""What commands say."""
