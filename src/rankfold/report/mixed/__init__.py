"""One page of runs, plans, chips and simulations, whatever somebody wants to see side by side."""
