"""Tables, pictures and the web page of finished runs."""
