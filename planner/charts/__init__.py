"""Pictures of plans, validations and profiles as Vega-Lite charts, for notebooks and the report.

Needs the extra ``report``. Charts are drawn from the contents of the JSON files.
"""
