//! The body of a response: that of the inner service, or the text of an error.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response: that of the inner service, or of the error response that replaces
    /// it.
    ///
    /// Its default is the default body of the inner service.
    ///
    /// # Examples
    ///
    /// A response to `HEAD` without its body, outside of the session service:
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Response;
    /// use http_body_util::Full;
    /// use session_hyper::SessionBody;
    ///
    /// type Page = Response<SessionBody<Full<Bytes>>>;
    ///
    /// fn without_body(page: Page) -> Page {
    ///     page.map(|_| SessionBody::default())
    /// }
    /// ```
    #[derive(Debug)]
    pub struct SessionBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProjection]
    enum Kind<B> {
        Service { #[pin] body: B },
        Error { text: Option<Bytes> },
    }
}

impl<B> SessionBody<B> {
    pub(crate) fn service(body: B) -> Self {
        Self {
            kind: Kind::Service { body },
        }
    }

    pub(crate) fn error(text: Bytes) -> Self {
        Self {
            kind: Kind::Error {
                text: Some(text).filter(|text| !text.is_empty()),
            },
        }
    }
}

impl<B: Default> Default for SessionBody<B> {
    fn default() -> Self {
        Self::service(B::default())
    }
}

impl<B: Body> Body for SessionBody<B>
where
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Service { body } => body.poll_frame(cx),
            KindProjection::Error { text } => {
                Poll::Ready(text.take().map(|text| Ok(Frame::data(text.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Service { body } => body.is_end_stream(),
            Kind::Error { text } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Service { body } => body.size_hint(),
            Kind::Error { text } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
        }
    }
}
