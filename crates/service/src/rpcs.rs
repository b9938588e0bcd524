//! How a gRPC service names the noun behind each of its methods.

/// Implements a gRPC service: one line per method.
///
/// `command method: Rpc => Noun` runs [`crate::command`]; `contest` the same with a verdict to wait for; `read` and `list`
/// run [`crate::query`]. `open` is for callers without a bearer token: it calls a function with the service, an
/// asker that is nobody, the request and the deadline. `anyone` also says who asks, if that is known; `acting` is the same for RPCs that need an account, and
/// `service` for RPCs that only calling services call. `called` calls a function with the service and the [`crate::call::Call`].
#[macro_export]
macro_rules! rpcs {
    ($trait:path => $service:ty { $($how:ident $method:ident: $rpc:ty => $by:tt $(:: $more:tt)* ),+ $(,)? }) => {
        #[tonic::async_trait]
        impl $trait for $service {
            $(
                async fn $method(
                    &self,
                    request: tonic::Request<<$rpc as kith_proto::rpc::Rpc>::Request>,
                ) -> Result<tonic::Response<<$rpc as kith_proto::rpc::Rpc>::Response>, tonic::Status> {
                    $crate::rpcs!(@ $how self, request, $rpc, $by $(:: $more)*)
                }
            )+
        }
    };
    (@ command $self:ident, $request:ident, $rpc:ty, $noun:ty) => {{
        let call = $crate::call::Call::<$rpc>::of($request)?;
        $crate::call::answered($self, $crate::command::run::<$noun, $rpc>($self, call), |_| {}).await
    }};
    (@ contest $self:ident, $request:ident, $rpc:ty, $noun:ty) => {{
        let call = $crate::call::Call::<$rpc>::of($request)?;
        $crate::call::answered($self, $crate::contest::run::<$noun, $rpc>($self, call), |_| {}).await
    }};
    (@ called $self:ident, $request:ident, $rpc:ty, $handle:expr) => {{
        let call = $crate::call::Call::<$rpc>::of($request)?;
        $crate::call::answered($self, $handle($self, call), |_| {}).await
    }};
    (@ open $self:ident, $request:ident, $rpc:ty, $handle:expr) => {{
        let (asker, deadline) = ($crate::auth::Asker::nobody(&$request), $crate::deadline::deadline(&$request));
        $crate::call::answered($self, $handle($self, asker, $request.into_inner(), deadline), |_| {}).await
    }};
    (@ anyone $self:ident, $request:ident, $rpc:ty, $handle:expr) => {
        $crate::rpcs!(@ of $self, $request, anyone, $handle)
    };
    (@ acting $self:ident, $request:ident, $rpc:ty, $handle:expr) => {
        $crate::rpcs!(@ of $self, $request, with_account, $handle)
    };
    (@ service $self:ident, $request:ident, $rpc:ty, $handle:expr) => {
        $crate::rpcs!(@ of $self, $request, service, $handle)
    };
    (@ of $self:ident, $request:ident, $who:ident, $handle:expr) => {{
        let (asker, deadline) = ($crate::auth::Asker::$who(&$request)?, $crate::deadline::deadline(&$request));
        $crate::call::answered($self, $handle($self, asker, $request.into_inner(), deadline), |_| {}).await
    }};
    (@ read $self:ident, $request:ident, $rpc:ty, $noun:ty) => {{
        let is_public = <$noun as $crate::query::Reads<$rpc>>::IS_PUBLIC;
        let call = $crate::call::Call::<$rpc>::reading($request, is_public)?;
        $crate::call::answered($self, $crate::query::read::<$noun, $rpc>($self, call), $crate::call::cut_short).await
    }};
    (@ list $self:ident, $request:ident, $rpc:ty, $noun:ty) => {{
        let is_public = <$noun as $crate::query::Lists<$rpc>>::IS_PUBLIC;
        let call = $crate::call::Call::<$rpc>::reading($request, is_public)?;
        $crate::call::answered($self, $crate::query::list::<$noun, $rpc>($self, call), $crate::call::cut_short).await
    }};
}
