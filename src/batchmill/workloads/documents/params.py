"""The parameters of a documents job, as a manifest gives them. What they come to is fixed in `binding`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from batchmill import InputFile, parse_size

Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema({"title": "size", "type": ["string", "number"]})]
Text = Annotated[str, Field(min_length=1)]


class Turn(BaseModel):
    """One message of a conversation, as workflows write them."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str


class DocumentParams(BaseModel):
    """One document and what is asked about it. Other names are values for the prompt, such as columns of a table.

    What is not given here comes from `batchmill.toml`, the environment, or the defaults of the settings, when the
    job is planned: it is part of the job's key.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=(), populate_by_name=True)

    file: InputFile | None = Field(None, description="the document; left out, the prompt is asked alone")
    text: str | None = Field(None, description="the document itself, instead of a file")
    images: list[InputFile] = Field(default_factory=list, description="image files that are sent with the document")
    prompt: Text | None = Field(
        None, description="what to do; a Jinja template: `{{ text }}`, `{{ file.name }}`, `{{ column }}`"
    )
    template: Text | None = Field(
        None, description="`summary`, `extract`, `qa`, `classify`, `describe`, or a file with a prompt"
    )
    system: str | None = Field(None, description="the system prompt, a template too")
    messages: list[Turn] | None = Field(None, min_length=1, description="a whole conversation instead of `prompt`")
    method: Literal["llm/chat", "llm/vision"] | None = Field(None, description="of workflows; `llm/vision` sees images")
    questions: list[Text] | dict[str, Text] | None = Field(
        None, min_length=1, description="asked one by one about the same document; a mapping names the answers"
    )
    schema_: dict[str, Any] | None = Field(None, alias="schema", description="JSON Schema of the answer")
    model: Text | None = Field(None, description="`provider/model`; a bare name means `ollama/NAME`")
    temperature: float | None = Field(None, ge=0, le=2, description="how freely the model chooses words")
    max_tokens: int | None = Field(None, ge=1, description="the longest answer, in tokens")
    seed: int | None = Field(None, description="for models that take one")
    options: dict[str, Any] = Field(default_factory=dict, description="the provider's own, such as `num_ctx`")
    vision: bool | None = Field(None, description="whether the model sees images; default: for images, yes")
    chunk_tokens: int | None = Field(
        None, ge=50, description="longer documents are asked about in parts of so many tokens; default: by the model"
    )
    chunk_overlap: int = Field(60, ge=0, description="tokens that a part has in common with the one before")
    reduce: str | None = Field(
        None, description="the prompt that combines the parts' `{{ answers }}`; `none` keeps them apart"
    )
    max_file_size: Size | None = Field(
        None, description="larger files are skipped, such as `1MB`; PDF and images have limits of their own"
    )
