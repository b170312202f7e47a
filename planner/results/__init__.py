"""What planning and validating come to, as files: plans, validations, recorded runs."""
