"""Replays recorded exchanges of frames with a `user` netdev."""
