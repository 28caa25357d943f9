"""OpenAI's Files and fine-tuning jobs, over the same trainer and gate as ``personal_models/training``.

``files`` takes uploads in and ``upload_service`` keeps them for their tenant; ``jobs`` turns a file into
training data and a job with its events. What a job learns from and how is the trainer's.
"""
