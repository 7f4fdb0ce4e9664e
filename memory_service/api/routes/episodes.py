"""Reading whole episodes."""

from __future__ import annotations

from fastapi import APIRouter, Request

from memory_service.api import views
from memory_service.api.calls import application_of, call
from memory_service.api.schemas import EpisodeOut

router = APIRouter()


@router.get("/episodes/{episode_id}", response_model=EpisodeOut)
async def get_episode(request: Request, episode_id: str) -> EpisodeOut:
    return views.episode(await call(request, application_of(request).memory.episode, episode_id))
