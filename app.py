"""CWAC Lab: ``streamlit run app.py``."""

from cwac.ui.router import route

route()
