"""Reading and forgetting whole episodes."""

from __future__ import annotations

from fastapi import APIRouter, Request

from memory_service.api import audit, views
from memory_service.api.calls import application_of, call
from memory_service.api.schemas import EpisodeOut, ForgottenOut

router = APIRouter(tags=["memory"])


@router.get("/episodes/{episode_id}", response_model=EpisodeOut)
async def get_episode(request: Request, episode_id: str) -> EpisodeOut:
    return views.episode(await call(request, application_of(request).memory.episode, episode_id))


@router.delete("/episodes/{episode_id}", response_model=ForgottenOut)
async def forget_episode(request: Request, episode_id: str) -> ForgottenOut:
    """Delete all the memories of an episode for good."""
    found = await call(request, application_of(request).memory.forget_episode, episode_id)
    audit.note(request, memories=found.memory_ids)
    return views.forgotten(found)
