"""Panels: each draws a part of a page of one view. They know no browser and ask nobody."""
