"""Reads the examples of a job that learns from an uploaded file."""

from populace.actors.errors import TrainingFailed
from populace.actors.example_lines import VALIDATION_LINES_MIN, ExampleLine, read_examples
from populace.actors.training import TrainingJob
from populace.learning.examples import Example, examples_of_lines
from populace.storage.uploads.errors import UploadNotFound
from populace.storage.uploads.upload_files import UploadFiles


def file_examples(job: TrainingJob, uploads: UploadFiles, now_ms: int, *, held_out_min: int) -> list[Example]:
    """Read the files of the job, which are its tenant's; some of the examples judge the result.

    Raises ``TrainingFailed`` for a file that was deleted or has expired, ``InvalidRequest``, which names a
    wrong line, and what ``UploadFiles.read`` raises.
    """

    def lines(option: str, file_id: str, **least: int) -> list[ExampleLine]:
        try:
            content = uploads.read(job.model.tenant, file_id, now_ms)
            return read_examples(content, job.options.method, option, **least)
        except UploadNotFound as error:
            reason = f"its {option.replace('_', ' ')} {file_id[:80]} is not there, or not any more"
            raise TrainingFailed(job.model.name, reason) from error

    options = job.options
    assert options.training_file is not None, "a job that learns from a file names it"
    validation: list[ExampleLine] = []
    if options.validation_file is not None:
        validation = lines("validation_file", options.validation_file, least=VALIDATION_LINES_MIN)
    taught = lines("training_file", options.training_file)
    return examples_of_lines(taught, validation, held_out_min=held_out_min)
