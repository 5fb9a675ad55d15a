"""Sixty short stories written for this project (CC0), on which attention is captured."""
