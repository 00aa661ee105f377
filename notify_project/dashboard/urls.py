"""What the dashboard's pages ask for, under /dashboard/. Not for programs: for staff in a session."""

from django.urls import URLPattern, path

from notify_project.dashboard import history, letters, lives

urlpatterns: list[URLPattern] = [
    path("history", history.History.as_view(), name="dashboard-history"),
    path("lives/<uuid:event_id>", lives.OneLife.as_view(), name="dashboard-life"),
    path("search", lives.Search.as_view(), name="dashboard-search"),
    path("letters", letters.Groups.as_view(), name="dashboard-letters"),
    path("letters/replays", letters.Replays.as_view(), name="dashboard-replays"),
    path("letters/replays/<uuid:replay_id>", letters.OneReplay.as_view(), name="dashboard-replay"),
]
