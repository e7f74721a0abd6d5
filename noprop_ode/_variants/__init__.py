"""The models: NoProp in discrete and continuous time, as flow matching, and the baselines."""
