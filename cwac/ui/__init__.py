"""The app: the only importer of streamlit. It knows stored records and tables, never a model."""
