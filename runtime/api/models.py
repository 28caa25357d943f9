"""Personal models and their revisions."""

from typing import Literal

from populace.actors.hosts import Lineage, ModelView, Readiness, Revision
from populace.actors.merging import LayerDifference, MergedRevision
from populace.actors.turn import ModelId
from populace.api.objects import ApiObject, Listing, example, milliseconds, seconds


class OpenAIModelObject(ApiObject):
    """A model as OpenAI's clients list it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelObject(ApiObject):
    """A personal model; see ``ModelView``."""

    model_config = example(
        id="ada",
        object="personal_model",
        created=1764288000,
        base="9b1d2f3a4c5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8",
        log_start=0,
        log_position=8,
        cursor=0,
        memory_version=8,
        aliases={},
        active=True,
        contributes=False,
        begins_on=None,
    )

    id: str
    object: Literal["personal_model"] = "personal_model"
    created: int
    base: str
    log_start: int
    log_position: int
    cursor: int
    memory_version: int
    aliases: dict[str, str]
    active: bool
    contributes: bool = False
    begins_on: str | None = None

    @classmethod
    def of(cls, view: ModelView) -> "ModelObject":
        return cls(
            id=view.model.name,
            created=seconds(view.created_ms),
            base=view.base,
            log_start=view.log_start,
            log_position=view.log_position,
            cursor=view.cursor,
            memory_version=view.memory_version,
            aliases=view.aliases,
            active=view.active,
            contributes=view.contributes,
            begins_on=view.begins_on,
        )

    def value(self, tenant: str) -> ModelView:
        return ModelView(
            ModelId(tenant, self.id),
            self.base,
            milliseconds(self.created),
            self.log_start,
            self.log_position,
            self.cursor,
            self.memory_version,
            self.aliases,
            self.active,
            self.contributes,
            self.begins_on,
        )


class DeletedModelObject(ApiObject):
    """The name of a model that was erased."""

    id: str
    object: Literal["personal_model.deleted"] = "personal_model.deleted"
    deleted: Literal[True] = True


class LineageObject(ApiObject):
    """How a revision was trained; see ``Lineage``."""

    log_range: tuple[int, int]
    feedback_until: int
    data_digest: str
    hyper_parameters: dict[str, bool | int | float | str | None]
    versions: dict[str, str]
    memory_module: str | None
    scores: dict[str, float]
    objections: tuple[str, ...]
    tokens: int
    seconds: float

    @classmethod
    def of(cls, lineage: Lineage) -> "LineageObject":
        return cls(
            log_range=lineage.log_range,
            feedback_until=seconds(lineage.feedback_until_ms),
            data_digest=lineage.data_digest,
            hyper_parameters=lineage.hyper_parameters,
            versions=lineage.versions,
            memory_module=lineage.memory_module,
            scores=lineage.scores,
            objections=lineage.objections,
            tokens=lineage.tokens,
            seconds=lineage.seconds,
        )

    def value(self) -> Lineage:
        return Lineage(
            self.log_range,
            milliseconds(self.feedback_until),
            self.data_digest,
            self.hyper_parameters,
            self.versions,
            self.memory_module,
            self.scores,
            self.objections,
            self.tokens,
            self.seconds,
        )


class SourceObject(ApiObject):
    """A revision that a merged one comes from, with its weight."""

    revision: str
    weight: float


class RevisionObject(ApiObject):
    """An adapter version; see ``Revision``."""

    id: str
    object: Literal["personal_model.revision"] = "personal_model.revision"
    created: int
    base: str
    method: str
    parent: str | None
    rank: int
    bytes: int
    readiness: Readiness
    lineage: LineageObject | None
    sources: tuple[SourceObject, ...]

    @classmethod
    def of(cls, revision: Revision) -> "RevisionObject":
        return cls(
            id=revision.digest,
            created=seconds(revision.created_ms),
            base=revision.base,
            method=revision.method,
            parent=revision.parent,
            rank=revision.rank,
            bytes=revision.adapter_bytes,
            readiness=revision.readiness,
            lineage=None if revision.lineage is None else LineageObject.of(revision.lineage),
            sources=tuple(SourceObject(revision=made, weight=weight) for made, weight in revision.sources),
        )

    def value(self) -> Revision:
        return Revision(
            self.id,
            self.base,
            self.method,
            self.parent,
            self.rank,
            self.bytes,
            milliseconds(self.created),
            self.readiness,
            None if self.lineage is None else self.lineage.value(),
            tuple((source.revision, source.weight) for source in self.sources),
        )


class LayerObject(ApiObject):
    """A layer in two revisions; see ``LayerDifference``."""

    object: Literal["personal_model.layer_difference"] = "personal_model.layer_difference"
    module: str
    norm: float
    other_norm: float
    distance: float
    angles: tuple[float, ...]

    @classmethod
    def of(cls, layer: LayerDifference) -> "LayerObject":
        return cls(**layer._asdict())

    def value(self) -> LayerDifference:
        return LayerDifference(self.module, self.norm, self.other_norm, self.distance, self.angles)


class DiffObject(Listing[LayerObject]):
    """Two revisions compared layer by layer; each is a digest or ``base``."""

    one: str
    other: str


class MergeObject(ApiObject):
    """The result of a merge; see ``MergedRevision``. ``warning`` says how it differs from the request."""

    object: Literal["population.merge"] = "population.merge"
    model: str
    revision: RevisionObject
    kept: float
    warning: str | None

    def value(self) -> MergedRevision:
        return MergedRevision(self.revision.value(), self.kept)
