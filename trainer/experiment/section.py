"""The base of every part of an experiment file: camelCase in YAML, strict, frozen, closed."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """A mapping in the file. Unknown fields and implicit conversions are mistakes; instances never change."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    def document(self, *, sparse: bool = False) -> dict[str, Any]:
        """As the file would say it; `sparse` leaves out what has its default value."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=sparse)


Text = Annotated[str, Field(min_length=1, max_length=253)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
