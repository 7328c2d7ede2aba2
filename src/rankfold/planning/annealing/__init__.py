"""Plans that get better with training: plan, train a little, plan again around the network as it is."""
