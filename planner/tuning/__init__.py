"""The closed loop: plan, run, correct the profile, plan again."""
