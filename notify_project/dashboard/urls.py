"""What the dashboard's pages ask for, under /dashboard/. Not for programs: it changes with the pages."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
