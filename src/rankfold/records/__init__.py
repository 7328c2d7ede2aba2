"""Files that remember work: typed, versioned, claimed by one piece of work, resumed by it."""
