"""THE OLD DESIGN: how runs are reported that were made before space.json said `"procedure": "blocks"`.

Search, rescreen and confirm in every split by itself; selection by validation error; headline intervals by the two-level
bootstrap (docs/inference_old_design.md). Nothing here is used for other runs.
"""
