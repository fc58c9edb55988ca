"""Answers in AUTOMATIC1111's shapes: lists, state, and what it tells of the pictures it made."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from paintmq.gateway.apis.a1111.asked import Asked
from paintmq.gateway.apis.cards import ModelCard
from paintmq.gateway.apis.work import Job
from paintmq.task import Json

ENLARGED = 4
"""How much an upscaler enlarges at most."""
EMPTY_LISTS = (
    "loras", "sd-vae", "sd-modules", "hypernetworks", "prompt-styles", "face-restorers",
    "realesrgan-models", "latent-upscale-modes", "script-info", "extensions",
)  # fmt: skip
"""Lists of what there is none of here."""
SCHEDULERS = ("Automatic", "Karras")


def model_entry(name: str) -> dict[str, Json]:
    return {
        "title": name, "model_name": name, "hash": None, "sha256": None, "filename": name,
        "config": None,
    }  # fmt: skip


def sampler_entries(cards: Sequence[ModelCard]) -> list[Json]:
    """Return the samplers of all models, each once; webuiapi asks for "Euler a" on its own."""
    names: dict[str, None] = {}
    for card in cards:
        choices = card.options.get("sampler", {}).get("choices")
        names |= dict.fromkeys(map(str, choices if isinstance(choices, list) else ()))
    names.setdefault("Euler a")
    return [{"name": name, "aliases": [], "options": {}} for name in names]


def scheduler_entries() -> list[Json]:
    return [
        {
            "name": name.lower(), "label": name, "aliases": None, "default_rho": -1.0,
            "need_inner_model": False,
        }
        for name in SCHEDULERS
    ]  # fmt: skip


def upscaler_entries(cards: Sequence[ModelCard]) -> list[Json]:
    names = ["None", *(card.name for card in cards if card.enlarges)]
    return [
        {
            "name": name, "model_name": None, "model_path": None, "model_url": None,
            "scale": ENLARGED,
        }
        for name in names
    ]  # fmt: skip


def progress_of(jobs: Sequence[Job], *, elapsed: float, image: str | None) -> dict[str, Json]:
    """Return the caller's progress; with no jobs all of it is 0."""
    job = jobs[0] if jobs else None
    now = None if job is None else job.progress
    fraction = 0.0 if job is None else job.fraction
    state: dict[str, Json] = {
        "skipped": False,
        "interrupted": job is not None and job.interrupted,
        "stopping_generation": False,
        "job": "" if job is None else job.name,
        "job_count": len(jobs),
        "job_timestamp": "" if job is None else job.begun,
        "job_no": 0 if job is None else job.done,
        "sampling_step": 0 if now is None else now.step,
        "sampling_steps": 0 if now is None else now.total,
    }
    return {
        "progress": fraction,
        "eta_relative": elapsed * (1 - fraction) / fraction if fraction else 0.0,
        "state": state,
        "current_image": image,
        "textinfo": None if now is None else now.note or None,
    }


def info_of(
    asked: Asked, model: str, *, seed: int, size: tuple[int, int], pictures: int, begun: str
) -> str:
    """Return what is told of the pictures: a text that holds JSON, with every key clients want."""
    prompt, negative = asked.prompt or "", asked.negative_prompt or ""
    seeds = [seed + number for number in range(pictures)]
    facts: Mapping[str, Any] = {
        "prompt": prompt,
        "all_prompts": [prompt] * pictures,
        "negative_prompt": negative,
        "all_negative_prompts": [negative] * pictures,
        "seed": seed,
        "all_seeds": seeds,
        "subseed": seed,
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": size[0],
        "height": size[1],
        "sampler_name": asked.sampler or "Euler a",
        "cfg_scale": 7.0 if asked.cfg_scale is None else asked.cfg_scale,
        "steps": asked.steps or 0,
        "batch_size": asked.batch_size or 1,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": model,
        "sd_model_hash": "",
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": asked.denoising_strength,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": [_infotext(asked, model, each, size) for each in seeds],
        "styles": [],
        "job_timestamp": begun,
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": "paintmq",
    }
    return json.dumps(facts)


def _infotext(asked: Asked, model: str, seed: int, size: tuple[int, int]) -> str:
    facts = {
        "Steps": asked.steps or 0,
        "Sampler": asked.sampler or "Euler a",
        "CFG scale": 7.0 if asked.cfg_scale is None else asked.cfg_scale,
        "Seed": seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": model,
    }
    lines = [asked.prompt or ""]
    if asked.negative_prompt:
        lines.append(f"Negative prompt: {asked.negative_prompt}")
    lines.append(", ".join(f"{name}: {value}" for name, value in facts.items()))
    return "\n".join(lines)
